"""What a training learns from: which votes count, how much each weighs, and the pairs that they make."""
