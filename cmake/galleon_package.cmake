# `cmake --install` and the Debian package (`cpack --config build/CPackConfig.cmake`): programs, the SentencePiece plug-in, units with a sample
# configuration, completion, manual pages, examples.
include(GNUInstallDirs)

set(programs galleon galleon-trainer galleon-scheduler galleon-worker)
install(TARGETS ${programs} RUNTIME DESTINATION bin)
# Where the trainer looks for it: beside itself, or in ../lib/galleon.
install(TARGETS galleon_sentencepiece LIBRARY DESTINATION lib/galleon)
# With Arrow's libraries beside it, 80 MB, for machines that have none.
option(GALLEON_PACKAGE_ARROW "Install the plug-in for Parquet and object stores, and Apache Arrow's libraries with it" OFF)
if(GALLEON_PACKAGE_ARROW AND GALLEON_ARROW_FILES)
  set_target_properties(galleon_arrow PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS galleon_arrow LIBRARY DESTINATION lib/galleon)
  install(FILES ${GALLEON_ARROW_FILES} DESTINATION lib/galleon)
  list(GET GALLEON_ARROW_FILES 0 first)
  cmake_path(GET first PARENT_PATH CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS)
elseif(GALLEON_PACKAGE_ARROW)
  message(FATAL_ERROR "GALLEON_PACKAGE_ARROW needs GALLEON_ARROW to be a pyarrow folder")
endif()

set(generated ${CMAKE_BINARY_DIR}/package)
file(MAKE_DIRECTORY ${generated})
foreach(program ${programs})
  add_custom_command(OUTPUT ${generated}/${program}.1.gz
                     COMMAND ${CMAKE_SOURCE_DIR}/deploy/package/man.py $<TARGET_FILE:${program}> ${program} ${PROJECT_VERSION} > ${generated}/${program}.1
                     COMMAND gzip -9nf ${generated}/${program}.1
                     DEPENDS ${program} ${CMAKE_SOURCE_DIR}/deploy/package/man.py VERBATIM)
  list(APPEND pages ${generated}/${program}.1.gz)
endforeach()
foreach(shell bash zsh)
  add_custom_command(OUTPUT ${generated}/completion.${shell} COMMAND galleon completion ${shell} > ${generated}/completion.${shell} DEPENDS galleon VERBATIM)
  list(APPEND completions ${generated}/completion.${shell})
endforeach()
add_custom_command(OUTPUT ${generated}/changelog.gz COMMAND gzip -9nc ${CMAKE_SOURCE_DIR}/deploy/package/changelog > ${generated}/changelog.gz
                   DEPENDS ${CMAKE_SOURCE_DIR}/deploy/package/changelog VERBATIM)
add_custom_target(package_files ALL DEPENDS ${pages} ${completions} ${generated}/changelog.gz)
install(FILES ${generated}/changelog.gz deploy/package/copyright DESTINATION share/doc/galleon)
install(FILES deploy/package/lintian-overrides DESTINATION share/lintian/overrides RENAME galleon)
install(FILES ${pages} DESTINATION share/man/man1)
install(FILES ${generated}/completion.bash DESTINATION share/bash-completion/completions RENAME galleon)
install(FILES ${generated}/completion.zsh DESTINATION share/zsh/vendor-completions RENAME _galleon)
install(FILES deploy/systemd/galleon-scheduler.service deploy/systemd/galleon-worker.service DESTINATION lib/systemd/system)
install(FILES deploy/systemd/scheduler.conf deploy/systemd/worker.conf DESTINATION /etc/galleon)
install(DIRECTORY deploy/examples DESTINATION share/doc/galleon)
install(PROGRAMS deploy/slurm/train.sbatch DESTINATION share/doc/galleon/slurm)
install(FILES helm/galleon/rules/alerts.yaml DESTINATION share/doc/galleon/prometheus)
install(DIRECTORY helm/galleon/dashboards DESTINATION share/doc/galleon FILES_MATCHING PATTERN "*.json")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME galleon)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Galleon's founders <founders@galleon.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "training service for language models that need more GPU memory")
set(CPACK_PACKAGE_DESCRIPTION "A scheduler that never loses an acknowledged job, workers, the trainer
and the command line. Gradients are projected to a low rank (GaLore), so that
the memory of the optimizer shrinks while every weight is trained.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# The BLAS whose threads are ours (`libopenblas0` may be any other); adduser makes the services' user.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, libopenblas0-openmp")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates")  # of servers of webhooks and of MLflow
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
file(WRITE ${generated}/conffiles "/etc/galleon/scheduler.conf\n/etc/galleon/worker.conf\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/deploy/package/postinst ${CMAKE_SOURCE_DIR}/deploy/package/prerm
    ${generated}/conffiles)
include(CPack)
