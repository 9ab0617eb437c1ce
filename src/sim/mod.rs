//! A simulated Recall.ai Calendar V2 API.
