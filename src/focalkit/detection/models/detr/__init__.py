"""RT-DETRv2 (Zhao et al., 2024, arXiv 2304.08069; Lv et al., 2024, arXiv 2407.17140): a real-time set predictor."""
