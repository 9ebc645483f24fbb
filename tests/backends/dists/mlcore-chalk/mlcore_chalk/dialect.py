"""Chalk: C as one writes it on a blackboard, with words of its own, which its first lines explain to a C++ compiler.

How work-items of a group take turns is taken from the dialect of mlcore-cpu, a package like this one.
"""

from dataclasses import replace

from mlcore_cpu.dialect import DIALECT as CPP

WORDS = """
typedef unsigned char yesno;
typedef int whole;
typedef long long large;
typedef unsigned int bits;
typedef unsigned long long manybits;
typedef float real;
typedef double precise;
#define CHALK(name) extern "C" void name
"""
TYPES = {
    "bool": "yesno", "int32": "whole", "int64": "large", "uint32": "bits", "uint64": "manybits",
    "float32": "real", "float64": "precise",
}  # fmt: skip
SPELLED = {"float": "real", "double": "precise"}


def spelled(name):
    """A function's key in chalk: ``exp:float`` is ``exp:real`` there."""
    function, colon, kind = name.partition(":")
    return f"{function}:{SPELLED[kind]}" if colon else function


DIALECT = replace(
    CPP,
    name="chalk",
    types=TYPES,
    launch="CHALK({name})({params})\n{{\n{body}\n}}",
    group_launch=CPP.group_launch.replace('extern "C" void {name}', "CHALK({name})"),
    functions={spelled(name): function for name, function in CPP.functions.items()},
    prelude=CPP.prelude + WORDS,
    suffix=".chalk",
)
