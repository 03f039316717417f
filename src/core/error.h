// Errors as values.
//
// An ErrorKind is one fact that can fail ("leaf-item-overlap"), with a parent ("corrupt") and the errno
// it becomes at the edge. Kinds are constants compared by address; every floor defines its own. An Error is
// one occurrence: the kind, what was wrong in words, where (device, offset, tree, slot …), what was
// expected and found, and the chain of operations it came up through, innermost first.
//
// Errors are cheap to return (one pointer) and are built only on the failing path. Thread-safety: an Error
// is a plain value owned by one thread at a time; kinds are immutable.
#pragma once
#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace karst {

struct ErrorKind {
  const char* name;         // stable, lower case, documented; shown in --json and in brackets in text
  const ErrorKind* parent;  // nullptr for the families below
  int errno_value;          // what FUSE or a system call would answer

  constexpr bool is(const ErrorKind& other) const {
    for (const ErrorKind* kind = this; kind; kind = kind->parent)
      if (kind == &other) return true;
    return false;
  }
};

// The families. Each has the errno of its most usual meaning.
namespace err {
extern const ErrorKind io;               // EIO: the device said no
extern const ErrorKind corrupt;          // EUCLEAN: bytes that contradict the format
extern const ErrorKind checksum;         // child of corrupt; EIO, as the kernel answers
extern const ErrorKind not_found;        // ENOENT
extern const ErrorKind exists;           // EEXIST
extern const ErrorKind not_a_directory;  // ENOTDIR
extern const ErrorKind is_a_directory;   // EISDIR
extern const ErrorKind no_attribute;     // ENODATA
extern const ErrorKind too_long;         // ENAMETOOLONG
extern const ErrorKind range;            // ERANGE
extern const ErrorKind loop;             // ELOOP
extern const ErrorKind invalid;          // EINVAL: the caller's argument
extern const ErrorKind unsupported;      // EOPNOTSUPP: a feature this build or version lacks
extern const ErrorKind read_only;        // EROFS
extern const ErrorKind no_space;         // ENOSPC
extern const ErrorKind no_memory;        // ENOMEM
extern const ErrorKind would_block;      // EAGAIN
extern const ErrorKind cancelled;        // ECANCELED
extern const ErrorKind busy;             // EBUSY
extern const ErrorKind limit;            // EFBIG: a limit of ours, named in the text
}  // namespace err

class [[nodiscard]] Error {
 public:
  explicit Error(const ErrorKind& kind, std::string what);
  template <typename... Args>
  static Error make(const ErrorKind& kind, fmt::format_string<Args...> format, Args&&... args) {
    return Error(kind, fmt::format(format, std::forward<Args>(args)...));
  }
  // From a failed system call: EIO and unknown values are err::io, the rest the family with that errno.
  static Error from_errno(int errno_value, std::string what);

  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;
  Error clone() const;

  // Adds a place ("device", "offset", "tree" …). The key is a literal.
  template <typename T>
  Error&& at(const char* key, const T& value) && {
    add_place(key, fmt::format("{}", value));
    return std::move(*this);
  }
  template <typename E, typename F>
  Error&& expected(const E& expected_value, const F& found_value) && {
    set_expected(fmt::format("{}", expected_value), fmt::format("{}", found_value));
    return std::move(*this);
  }
  // Names the operation this came up through: "reading tree 5".
  Error&& while_doing(std::string operation) &&;

  const ErrorKind& kind() const { return *detail_->kind; }
  bool is(const ErrorKind& kind) const { return detail_->kind->is(kind); }
  int errno_value() const { return detail_->kind->errno_value; }
  const std::string& what() const { return detail_->what; }
  const std::vector<std::pair<const char*, std::string>>& places() const { return detail_->places; }
  const std::vector<std::string>& operations() const { return detail_->operations; }
  const std::string& expected_text() const { return detail_->expected; }
  const std::string& found_text() const { return detail_->found; }

  // "operation: operation: what (expected E, found F) at device D offset O [kind]"
  std::string message() const;

 private:
  struct Detail {
    const ErrorKind* kind;
    std::string what;
    std::string expected, found;
    std::vector<std::pair<const char*, std::string>> places;
    std::vector<std::string> operations;  // innermost first
  };
  explicit Error(std::unique_ptr<Detail> detail) : detail_(std::move(detail)) {}
  void add_place(const char* key, std::string value);
  void set_expected(std::string expected, std::string found);
  std::unique_ptr<Detail> detail_;
};

}  // namespace karst
