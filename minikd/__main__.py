"""`python -m minikd` runs the `minikd` command."""

from .cli.main import main

if __name__ == "__main__":
    main()
