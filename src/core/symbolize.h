// Names for addresses of code, for reports of debug builds: functions from the symbol tables of the running
// program and its libraries, static ones included. Slow; made when a report is.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace karst {

class Symbolizer {
 public:
  // "karst::Pool::commit()+0x1a", or "libfoo.so+0x1234" for what has no name. A return address is described
  // as the call before it.
  std::string describe(const void* return_address);

 private:
  struct Function {
    uintptr_t start, end;  // relative to the load address
    std::string name;      // mangled
  };
  const std::vector<Function>& functions_of(const char* file);
  std::map<std::string, std::vector<Function>> files_;
};

}  // namespace karst
