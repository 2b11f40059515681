// Which of two paths kernels take: the copy engine, clusters and launches that overlap, from compute capability 9.0 on,
// or what chips before have, Jetson Orin among them. Built with -Dgpu_as_orin=true all chips take the latter, to test
// and measure it where there is no Orin.
#pragma once

#ifndef EL_AS_ORIN
#define EL_AS_ORIN 0
#endif
#define EL_PATH_90 (__CUDA_ARCH__ >= 900 && !EL_AS_ORIN)
