"""Where submissions run: a process of their own that is handed numbers and hands numbers back."""
