# cmake --build build-cuda --target bundle: deploy/bundle.sh says what is in it.
add_custom_target(bundle COMMAND ${CMAKE_SOURCE_DIR}/deploy/bundle.sh ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${CMAKE_BINARY_DIR}/bundle
                  DEPENDS galleon galleon-trainer galleon-scheduler galleon-worker galleon_sentencepiece gpu_suite test_kernels test_engine_on_gpu VERBATIM USES_TERMINAL)
