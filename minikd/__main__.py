"""`python -m minikd` is the `minikd` command."""

from .cli import main

if __name__ == "__main__":
    main()
