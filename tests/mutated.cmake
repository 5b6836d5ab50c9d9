# galleon_mutated(result name original "what is there" "what is put there instead"): a copy of a source with one place replaced. Where the place is
# no longer found the configuration fails, so that no mutant quietly becomes the original.
function(galleon_mutated result name original old new)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${original})
  file(READ ${original} text)
  string(FIND "${text}" "${old}" place)
  if(place EQUAL -1)
    message(FATAL_ERROR "mutant ${name}: ${original} has no such place: ${old}")
  endif()
  string(REPLACE "${old}" "${new}" text "${text}")
  set(mutated ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  file(CONFIGURE OUTPUT ${mutated} CONTENT "${text}" @ONLY)
  set(${result} ${mutated} PARENT_SCOPE)
endfunction()
