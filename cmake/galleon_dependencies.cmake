# Everything that comes from the distribution. A missing package is named with what to install.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(BZip2 REQUIRED)
find_package(LibLZMA REQUIRED)
find_package(OpenMP REQUIRED)
find_path(GALLEON_NLOHMANN_INCLUDE nlohmann/json.hpp REQUIRED)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)

# OpenBLAS built on OpenMP, so that the BLAS and our own loops share one pool of threads. Its folder goes into the RPATH
# because the distribution's default alternative is the pthread build under the same file name.
find_library(GALLEON_OPENBLAS openblas PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp NO_DEFAULT_PATH)
if(NOT GALLEON_OPENBLAS)
  message(FATAL_ERROR "OpenBLAS for OpenMP was not found: apt-get install libopenblas-openmp-dev")
endif()
find_path(GALLEON_OPENBLAS_INCLUDE cblas.h PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp NO_DEFAULT_PATH REQUIRED)
add_library(galleon_openblas INTERFACE)
target_include_directories(galleon_openblas SYSTEM INTERFACE ${GALLEON_OPENBLAS_INCLUDE})
target_link_libraries(galleon_openblas INTERFACE ${GALLEON_OPENBLAS} -Wl,-rpath,/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp)

find_package(dnnl CONFIG REQUIRED)  # oneDNN, on OpenMP as well

if(GALLEON_SERVICE)
  find_package(gRPC CONFIG REQUIRED)
  find_package(prometheus-cpp CONFIG REQUIRED)
  find_package(SQLite3 REQUIRED)
  # For several schedulers; none is needed where one is enough.
  option(GALLEON_POSTGRES "the journal in PostgreSQL, where libpq is there" ON)
  if(GALLEON_POSTGRES)
    find_package(PostgreSQL QUIET)
  endif()
  find_program(GALLEON_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
endif()
