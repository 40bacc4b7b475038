"""The styles and scenes that we draw ourselves, their captions and colours."""
