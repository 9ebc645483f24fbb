# Fused kernels
