"""The configuration: parsed once into frozen data, every fault reported together."""
