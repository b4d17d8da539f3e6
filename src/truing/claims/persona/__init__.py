"""Persona Vectors: Monitoring and Controlling Character Traits in Language Models (Chen et al., arXiv 2507.21509)."""
