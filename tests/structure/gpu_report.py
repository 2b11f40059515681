"""gpu_report.py ROOT: feeds script/gpu-report recorded output of nvcc and expects it to complain of just what is wrong."""
import importlib.machinery
import importlib.util
import os
import sys

import common

PTX = """
.visible .entry _ZN2el4cuda12_GLOBAL__N_113matvec_kernelILi8EEEvNS1_4ArgsE(
    .param .align 8 .b8 _ZN2el4cuda_param_0[2192]
)
.maxntid 384, 1, 1
.minnctapersm 1
{
    .reg .b32 %r<3>;
}
.visible .entry _ZN2el4cuda11turn_kernelINS_3F16EEEvNS0_5PlaneENS0_4RopeEPKii(
    .param .u64 _ZN2el4cuda11turn_kernel_param_0
)
{
}
"""
REPORT = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN2el4cuda11turn_kernelINS_3F16EEEvNS0_5PlaneENS0_4RopeEPKii' for 'sm_87'
ptxas info    : Function properties for _ZN2el4cuda11turn_kernelINS_3F16EEEvNS0_5PlaneENS0_4RopeEPKii
    40 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 1 barriers, 40 bytes cumulative stack size, 432 bytes cmem[0]
ptxas info    : Compile time = 5.713 ms
ptxas info    : Function properties for __internal_trig_reduction_slowpathd
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function '_ZN2el4cuda12_GLOBAL__N_113matvec_kernelILi8EEEvNS1_4ArgsE' for 'sm_87'
ptxas info    : Function properties for _ZN2el4cuda12_GLOBAL__N_113matvec_kernelILi8EEEvNS1_4ArgsE
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 48 bytes smem, 2544 bytes cmem[0]
"""
MOST_REGISTERS = PTX.replace(".maxntid 384, 1, 1\n.minnctapersm 1", ".maxnreg 168")  # bounds are in other PTX
MATVEC, TURN = "cuda/a.cu: matvec_kernel<8>: ", "cuda/a.cu: turn_kernel<F16>: "
NO_FRAME, FRAME = "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\nptxas info    : Used 168", (
    "    {} bytes stack frame, {} bytes spill stores, {} bytes spill loads\nptxas info    : Used 168")
WARNING = "ptxas warning : Value of threads per SM for entry _Z1aPf is out of range. .minnctapersm will be ignored\n"
CASES = [
    # what to replace in the PTX or the report, by what, what the complaint begins with (None: there is none)
    ("", "", None),
    ("384, 1, 1", "384", None),  # as other releases write it
    (NO_FRAME, FRAME.format(128, 0, 0), MATVEC + "has 128 bytes of arrays"),
    (NO_FRAME, FRAME.format(144, 8, 4), MATVEC + "spills registers (8 bytes stored, 4 loaded, in"),
    ("40 bytes stack frame, 0", "40 bytes stack frame, 16", TURN + "spills registers (16 "),
    ("slowpathd\n    0 bytes stack frame, 0", "slowpathd\n    8 bytes stack frame, 8", TURN + "spills"),
    (" 48 bytes smem", " 49160 bytes smem", MATVEC + "has 49160 bytes of static shared memory"),
    (".minnctapersm 1", ".minnctapersm 2", MATVEC + "takes 129024 registers"),
    ("Used 168", "Used 171", MATVEC + "takes 67584 registers"),  # 176 are given out
    ("384, 1, 1", "384, 2, 1", MATVEC + "takes 129024 registers"),
    ("Used 168 registers", "Used many registers", MATVEC + "ptxas' report says nothing"),
    ("entry function '_ZN2el4cuda11", "entry function '_ZN2el4cuda12", TURN + "ptxas' report says nothing"),
    ("ptxas info    : 0 bytes gmem\n", WARNING, "cuda/a.cu: Value of threads per SM for entry a(float*) is out of range"),
]


def load(root):
    loader = importlib.machinery.SourceFileLoader("gpu_report_script", os.path.join(root, "script", "gpu-report"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # dataclasses look it up
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


BOUNDS_CASES = [  # the same for kernels whose registers are limited, with what to replace in the PTX with their bounds
    ("", "", None),
    (".minnctapersm 1", ".minnctapersm 2", MATVEC + "takes 129024 registers"),
    ("384, 1, 1", "640, 1, 1", MATVEC + "takes 107520 registers"),
    (".maxntid 384, 1, 1", ".maxnreg 168", MATVEC + "limits registers without saying"),
    ("matvec_kernel", "matvec_colonel", MATVEC + "limits registers without saying"),
]


def run_bounds(script, number, old, new, expected):
    """What went wrong in one case of registers that are limited, or None."""
    kernels = script.kernels_of(MOST_REGISTERS, REPORT, PTX.replace(old, new) if old else PTX)
    problems = script.problems_of("cuda/a.cu", kernels, REPORT)
    return verdict(f"bounds {number}", old, new, problems, expected)


def verdict(case, old, new, problems, expected):
    good = not problems if expected is None else len(problems) == 1 and problems[0].startswith(expected)
    return None if good else f"{case}: {new!r} for {old!r} gave {problems}, expected {expected}"


def run(script, number, old, new, expected):
    """What went wrong in one case, or None."""
    if old not in PTX + REPORT:
        return f"case {number}: {old!r} is not in the recorded output"
    ptx, report = (text.replace(old, new) if old else text for text in (PTX, REPORT))
    problems = script.problems_of("cuda/a.cu", script.kernels_of(ptx, report), report)
    return verdict(f"case {number}", old, new, problems, expected)


def run_command(script):
    """The build's command, changed to compile device code alone, and that changed to say launch bounds."""
    build = "ccache nvcc -I. -gencode=arch=compute_90,code=sm_90 -MD -MF a.d -MQ a.o -o a.o -c a.cu"
    command = script.device_command(build, "87", "/t")
    expected = "nvcc -I. a.cu -gencode=arch=compute_87,code=sm_87 -Xptxas=-v -cubin --keep --keep-dir=/t -o /t/out.cubin"
    bounds = "nvcc -I. a.cu -gencode=arch=compute_87,code=sm_87 -Xptxas=-v --keep-dir=/t -o /t/out.cubin -ptx"
    good = " ".join(command) == expected and " ".join(script.bounds_command(command)).startswith(bounds)
    return None if good else f"command: is {command}, not {expected}"


if __name__ == "__main__":
    gpu_report = load(sys.argv[1])
    outcomes = [run(gpu_report, number, *case) for number, case in enumerate(CASES)] + [run_command(gpu_report)]
    outcomes += [run_bounds(gpu_report, number, *case) for number, case in enumerate(BOUNDS_CASES)]
    common.finish(len(outcomes), [outcome for outcome in outcomes if outcome])
