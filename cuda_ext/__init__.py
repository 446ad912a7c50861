"""Differentiable rasterizer ops for CPU and CUDA, with pure-torch twins."""
