"""The main job: dataset and noisy labels in, prediction and measurement out."""
