# nvcc, CUDA's libraries and the architectures that kernels are compiled for. A developer names the one at hand:
# cmake --preset cuda -DGALLEON_CUDA_ARCHITECTURES=90
set(GALLEON_CUDA_ARCHITECTURES "80;86;89;90;100;120" CACHE STRING "compute capabilities without the dot")

option(GALLEON_CUDA_LINE_INFO "Keep the lines of kernels, for compute-sanitizer and profilers" OFF)

# Machine code for each, and what the driver can compile for later ones of the last.
set(CMAKE_CUDA_ARCHITECTURES "")
foreach(architecture ${GALLEON_CUDA_ARCHITECTURES})
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${architecture}-real)
endforeach()
list(GET GALLEON_CUDA_ARCHITECTURES -1 last)
list(APPEND CMAKE_CUDA_ARCHITECTURES ${last}-virtual)

find_program(GALLEON_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
if(NOT GALLEON_NVCC)
  message(FATAL_ERROR "nvcc was not found: install the CUDA toolkit 13, or configure without -DGALLEON_CUDA=ON")
endif()
set(CMAKE_CUDA_COMPILER ${GALLEON_NVCC})
set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(GALLEON_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${GALLEON_CCACHE})
endif()
enable_language(CUDA)
# Programs look beside themselves first, for libraries of libraries too (which only the older of the two tags covers), so
# that a copy of the folder runs elsewhere.
set(CMAKE_BUILD_RPATH "$ORIGIN")
add_link_options(-Wl,--disable-new-dtags)
# CMake 3.25 does not know that nvcc speaks C++20.
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
# CMake 3.25 as Debian 12 has it changes a target of nvToolsExt, which CUDA 13 no longer brings, in projects that ask for 3.25.
set(galleon_minimum ${CMAKE_MINIMUM_REQUIRED_VERSION})
set(CMAKE_MINIMUM_REQUIRED_VERSION 3.24)
find_package(CUDAToolkit 13 REQUIRED)
set(CMAKE_MINIMUM_REQUIRED_VERSION ${galleon_minimum})
