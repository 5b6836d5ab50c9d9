// galleon: the command that people use.
#include "client/program.h"

int main(int argc, char** argv) {
  return galleon::Program().run(argc, argv);
}
