# Compiler settings shared by every room: warnings as errors on our own code, ccache and mold where present, sanitizers.
find_program(GALLEON_CCACHE ccache)
if(GALLEON_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${GALLEON_CCACHE})
  # Precompiled headers are cached too; that needs ccache to look past their time stamps. What one clone compiled another
  # takes, wherever it lies.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${GALLEON_CCACHE})
endif()
find_program(GALLEON_MOLD mold)
if(GALLEON_MOLD AND NOT CMAKE_CROSSCOMPILING)  # the cross compiler does not find it
  add_link_options(-fuse-ld=mold)
endif()
link_libraries(-Wl,--as-needed)

set(GALLEON_SANITIZE "" CACHE STRING "address, thread or empty")
if(GALLEON_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
elseif(GALLEON_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  # GCC's thread sanitizer does not know fences; Asio's mutexes order what we share without them.
  add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
  add_link_options(-fsanitize=thread)
endif()

option(GALLEON_FUZZ "Build the fuzz targets for libFuzzer; needs clang" OFF)
if(GALLEON_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
endif()

# -Wrestrict of GCC 12 is wrong about std::string at -O3 (its bug 105651).
add_library(galleon_warnings INTERFACE)
target_compile_options(galleon_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                       -Wno-missing-field-initializers $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
                       $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed> -Werror)  # sanitizers stop vectorisation

# One library of a room: every *.cc of a folder (not below it), our warnings, includes from the project's root.
function(galleon_library name folder)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cc)
  list(FILTER sources EXCLUDE REGEX "(_main|/main)\\.cc$")
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE galleon_warnings)
  target_link_libraries(${name} PUBLIC ${ARGN})
endfunction()

function(galleon_executable name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE galleon_warnings ${ARGN})
endfunction()
