#include "core/symbolize.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "core/bytes.h"

namespace karst {
namespace {

std::string demangle(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string result = status == 0 && text ? text : name;
  std::free(text);
  return result;
}

template <typename T>
std::optional<T> read_at(Bytes file, uint64_t offset) {
  T value;
  auto bytes = slice(file, offset, sizeof value);
  if (!bytes) return std::nullopt;
  std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

}  // namespace

// Reads the functions of .symtab, which names static functions too, or else of .dynsym.
const std::vector<Symbolizer::Function>& Symbolizer::functions_of(const char* file) {
  auto [entry, is_new] = files_.try_emplace(file);
  std::vector<Function>& functions = entry->second;
  if (!is_new) return functions;
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  Bytes image = as_bytes(text);
  auto header = read_at<Elf64_Ehdr>(image, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64)
    return functions;
  for (uint32_t wanted : {SHT_SYMTAB, SHT_DYNSYM}) {
    for (uint64_t i = 0; i < header->e_shnum && functions.empty(); ++i) {
      auto section = read_at<Elf64_Shdr>(image, header->e_shoff + i * sizeof(Elf64_Shdr));
      if (!section || section->sh_type != wanted) continue;
      auto names = read_at<Elf64_Shdr>(image, header->e_shoff + section->sh_link * sizeof(Elf64_Shdr));
      if (!names) continue;
      for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section->sh_size; at += sizeof(Elf64_Sym)) {
        auto symbol = read_at<Elf64_Sym>(image, section->sh_offset + at);
        if (!symbol) break;
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_size == 0) continue;
        if (symbol->st_name >= names->sh_size || names->sh_offset + names->sh_size > image.size()) continue;
        std::string_view name = std::string_view(text).substr(names->sh_offset + symbol->st_name);
        functions.push_back({symbol->st_value, symbol->st_value + symbol->st_size,
                             std::string(name.substr(0, name.find('\0')))});
      }
    }
  }
  std::sort(functions.begin(), functions.end(), [](auto& a, auto& b) { return a.start < b.start; });
  return functions;
}

std::string Symbolizer::describe(const void* return_address) {
  auto address = reinterpret_cast<uintptr_t>(return_address) - 1;  // inside the call instruction
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(address), &info) == 0 || !info.dli_fname)
    return fmt::format("{}", fmt::ptr(return_address));
  uintptr_t offset = address - reinterpret_cast<uintptr_t>(info.dli_fbase);
  const auto& functions = functions_of(info.dli_fname);
  auto after =
      std::upper_bound(functions.begin(), functions.end(), offset,
                       [](uintptr_t value, const Function& function) { return value < function.start; });
  if (after != functions.begin() && offset < std::prev(after)->end)
    return fmt::format("{}+{:#x}", demangle(std::prev(after)->name), offset + 1 - std::prev(after)->start);
  std::string_view file = info.dli_fname;
  return fmt::format("{}+{:#x}", file.substr(file.rfind('/') + 1), offset + 1);
}

}  // namespace karst
