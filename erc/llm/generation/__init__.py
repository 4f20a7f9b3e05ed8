"""Text generation by language models, and the file that stores the texts."""
