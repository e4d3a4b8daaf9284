"""What Tortie costs and what others cost, measured side by side in one run: `python -m bench`."""
