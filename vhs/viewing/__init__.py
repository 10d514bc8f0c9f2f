"""What heads look at: measured of many images, and shown on a few; contact sheets of images."""
