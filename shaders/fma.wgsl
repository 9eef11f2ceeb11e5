// Chains of multiply-adds in f32: shared/chains.wgsl says of what.

alias Real = f32;
