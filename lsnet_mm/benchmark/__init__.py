"""Speed, memory and size of networks and of the LS convolution's operator, side by side."""
