from cupy._memory import LIMIT, get_default_memory_pool
from cupy._place import CUDARuntimeError, current_device, device_count

is_hip = False


def getDevice() -> int:
    return current_device()


def getDeviceCount() -> int:
    return device_count()


def memGetInfo() -> tuple[int, int]:
    return LIMIT - get_default_memory_pool().total_bytes(), LIMIT


def deviceSynchronize() -> None:
    pass


__all__ = ["CUDARuntimeError", "deviceSynchronize", "getDevice", "getDeviceCount", "is_hip", "memGetInfo"]
