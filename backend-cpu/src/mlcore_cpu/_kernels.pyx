# distutils: language = c++
# cython: language_level=3, binding=True, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin glue between NumPy arrays and the C++ kernels: no arithmetic here.

Every kernel keeps the core's contract: arrays first, then parameters, all positional; nothing is validated
(the core did); the result is a new array; work above INLINE_BELOW elements runs without the GIL.
"""

include "_glue/declarations.pxi"
include "_glue/arrays.pxi"
include "_glue/views.pxi"
include "_glue/elementwise.pxi"
include "_glue/reduce.pxi"
include "_glue/contract.pxi"
include "_glue/convolution.pxi"
include "_glue/fused.pxi"
include "_glue/channels.pxi"
include "_glue/recurrent.pxi"
include "_glue/attention.pxi"
include "_glue/rms_norm.pxi"
include "_glue/order.pxi"
include "_glue/indexing.pxi"
include "_glue/optimizer.pxi"
include "_glue/chain.pxi"
