#include "worker/trainer/processor_message.h"

#include "kernels/cpu/processor.h"

namespace galleon {

v1::ProcessorInfo processor_message() {
  const cpu::ProcessorFacts facts = cpu::processor_facts();
  v1::ProcessorInfo message;
  message.set_model(facts.model);
  message.set_architecture(facts.architecture);
  message.set_features(cpu::level_name(facts.level));
  message.set_instruction_set(facts.instruction_set);
  for (const cpu::LibraryFacts& library : facts.libraries) {
    v1::ProcessorInfo::Library& entry = *message.add_libraries();
    entry.set_name(library.name);
    entry.set_version(library.version);
    entry.set_kernels(library.kernels);
    entry.set_too_little(library.level < library.expected);
  }
  return message;
}

}  // namespace galleon
