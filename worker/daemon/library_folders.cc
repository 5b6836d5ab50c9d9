#include "worker/daemon/library_folders.h"

#include <elf.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/base/files.h"

namespace galleon {

namespace {

// A part of a file as a structure; false: the file ends before.
template <typename T>
bool take(absl::string_view file, uint64_t at, T& value) {
  if (at > file.size() || file.size() - at < sizeof(T)) return false;
  std::memcpy(&value, file.data() + at, sizeof(T));
  return true;
}

std::string text_at(absl::string_view file, uint64_t at) {
  if (at >= file.size()) return "";
  const absl::string_view rest = file.substr(at);
  return std::string(rest.substr(0, rest.find('\0')));
}

}  // namespace

std::vector<std::string> library_folders(const std::string& file) {
  const std::string bytes = read_file(file).value_or("");
  Elf64_Ehdr header{};
  if (!take(bytes, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64)
    return {};
  std::vector<std::string> folders;
  const std::string origin = std::filesystem::path(file).parent_path().string();
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section{};
    Elf64_Shdr names{};
    if (!take(bytes, header.e_shoff + uint64_t{header.e_shentsize} * i, section) || section.sh_type != SHT_DYNAMIC ||
        !take(bytes, header.e_shoff + uint64_t{header.e_shentsize} * section.sh_link, names))
      continue;
    Elf64_Dyn entry{};
    for (uint64_t at = 0; at < section.sh_size && take(bytes, section.sh_offset + at, entry); at += sizeof(entry)) {
      if (entry.d_tag != DT_RUNPATH && entry.d_tag != DT_RPATH) continue;
      const std::string paths = text_at(bytes, names.sh_offset + entry.d_un.d_val);
      for (const absl::string_view folder : absl::StrSplit(paths, ':'))
        if (!folder.empty())
          folders.push_back(absl::StrReplaceAll(folder, {{"${ORIGIN}", origin}, {"$ORIGIN", origin}}));
    }
  }
  return folders;
}

}  // namespace galleon
