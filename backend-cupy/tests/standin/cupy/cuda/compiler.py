from cupy._raw import CompileException

__all__ = ["CompileException"]
