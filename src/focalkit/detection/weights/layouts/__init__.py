"""The names and the order of weights in the files of other libraries."""
