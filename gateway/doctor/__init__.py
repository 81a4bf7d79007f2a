"""What may be wrong with a gateway and its surroundings, each finding with its remedy."""
