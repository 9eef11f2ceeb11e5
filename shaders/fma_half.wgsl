// Chains of multiply-adds in f16: shared/chains.wgsl says of what.

enable f16;

alias Real = f16;
