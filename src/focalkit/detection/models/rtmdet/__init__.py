"""The parts of RTMDet (Lyu et al., 2022, arXiv 2212.07784): backbone, neck and head."""
