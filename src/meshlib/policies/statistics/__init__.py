"""Sliding counts, outcome windows, histograms and moving averages. Pure: time and values are arguments."""
