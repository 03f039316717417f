"""What make-images and random-tree share."""
