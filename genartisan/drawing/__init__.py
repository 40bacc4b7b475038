"""Procedurally drawn styles and scenes, with their captions and colours: training data made from code."""
