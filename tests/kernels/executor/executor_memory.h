// The memory of an executor device: the host can touch it only while a kernel, a copy or a library's call runs, so that
// host code which forgets to download dies in the tests as it would with a GPU.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

namespace galleon::cuda {
struct Context;
}

namespace galleon::executor {

// One range of addresses, closed to everyone but holders of an OpenMemory. Pieces are given out first fit. The first of
// them end at a page that nobody may touch, not even to read; each further one would make opening slower.
class GuardedMemory {
 public:
  struct Piece {
    int64_t bytes;
    bool walled;  // a page behind it ends whoever touches it
  };
  GuardedMemory();
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  void* allocate(int64_t bytes);  // zeroed, 64-byte aligned; nullptr: full
  void free(void* data);
  void open();
  void close();

 private:
  void protect();
  int protection() const;
  char* base_;
  int nothing_;       // a file without a byte: whatever is mapped of it cannot be touched
  int64_t used_ = 0;  // bytes from the base that were ever given out, whole pages
  int walls_ = 0;
  std::map<int64_t, Piece> taken_;  // by offset
  int openings_ = 0;
  std::mutex mutex_;
};

// While it lives, the host may touch the memory of a context; null: of none.
class OpenMemory {
 public:
  explicit OpenMemory(cuda::Context* context);
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;

 private:
  GuardedMemory* memory_;
};

}  // namespace galleon::executor
