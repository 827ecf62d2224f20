"""Run submissions in processes of their own, which receive numbers and send numbers back."""
