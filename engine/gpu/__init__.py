"""What a GPU needs beside the models: streams, launches kept in step, kernels of our own."""
