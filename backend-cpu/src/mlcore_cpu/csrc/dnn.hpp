// oneDNN: whether it is here.
#pragma once
#include "common.hpp"

namespace mlcore_cpu {

bool dnn_available();
const char* dnn_version();

}  // namespace mlcore_cpu
