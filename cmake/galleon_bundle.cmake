# cmake --build build-cuda --target bundle: deploy/bundle.sh says what is in it. That of one architecture bears its number.
list(LENGTH GALLEON_CUDA_ARCHITECTURES count)
set(bundle_name galleon-cuda)
if(count EQUAL 1)
  set(bundle_name galleon-cuda-${GALLEON_CUDA_ARCHITECTURES})
endif()
add_custom_target(bundle COMMAND ${CMAKE_SOURCE_DIR}/deploy/bundle.sh ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${CMAKE_BINARY_DIR}/bundle ${bundle_name}
                  DEPENDS galleon galleon-trainer galleon-scheduler galleon-worker galleon_sentencepiece gpu_suite test_kernels test_engine_on_gpu VERBATIM USES_TERMINAL)
