// For tests: saying things to an inventory briefly, and what comes out as text.
#pragma once
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "btrfs/tool/build/inventory.h"

namespace karst::btrfs::build::testing {

// Remembers contents by token; says which tokens came back.
class MemoryStore : public ContentStore {
 public:
  Result<void> begin_file(std::string_view path, const Properties& properties, uint64_t) override {
    path_ = path;
    properties_ = properties;
    content_.clear();
    return {};
  }
  Result<void> write(uint64_t offset, Bytes data) override {
    EXPECT_GE(offset, content_.size());
    if (fail_after_ && offset + data.size() > *fail_after_)
      return Error(karst::err::no_space, "the test's store is full");
    content_.resize(offset, '.');
    content_ += as_text(data);
    return {};
  }
  Result<ContentToken> end_file(uint64_t size) override {
    content_.resize(size, '.');
    contents[next_] = content_;
    const std::string token = std::to_string(next_++);
    return ContentToken(as_bytes(token).begin(), as_bytes(token).end());
  }
  void abandon_file() override { ++abandoned; }
  void release(Bytes token) override { released.push_back(std::string(as_text(token))); }

  void fail_after(uint64_t bytes) { fail_after_ = bytes; }
  std::string content(Bytes token) const { return contents.at(std::stoi(std::string(as_text(token)))); }
  std::map<int, std::string> contents;
  std::vector<std::string> released;
  int abandoned = 0;

 private:
  std::optional<uint64_t> fail_after_;
  int next_ = 1;
  std::string path_, content_;
  Properties properties_;
};

inline Entry directory(uint32_t uid = 0) {
  return {.attributes = {.mode = mode::directory | 0755, .uid = uid}};
}
inline Entry file(std::string_view text, uint32_t uid = 0) {
  return {.attributes = {.mode = mode::regular | 0644, .uid = uid, .size = text.size()},
          .content = ContentKind::bytes,
          .content_bytes = as_bytes(text)};
}
inline Entry symlink(std::string_view target) {
  return {.attributes = {.mode = mode::symlink | 0777, .size = target.size()},
          .content = ContentKind::bytes,
          .content_bytes = as_bytes(target)};
}

// A name may be in a directory that comes after its inode, so directories are looked at first.
inline std::map<uint64_t, std::string> directory_paths(const Layout& layout, uint64_t subvolume_id) {
  std::map<uint64_t, std::string> paths;
  Walk walk = layout.walk();
  while (walk.next_subvolume().value()->id != subvolume_id) {
  }
  while (const Inode* inode = walk.next().value())
    if (inode->attributes.is_directory())
      paths[inode->number] = inode->path.empty() ? "" : "/" + std::string(inode->path);
  return paths;
}

// A line for each inode: "subvolume:number /path,/other/path mode uid content", children after directories:
// " [name=number …]". What a walk promises is checked on the way.
inline std::vector<std::string> walk_lines(const Layout& layout, const MemoryStore* store = nullptr) {
  std::vector<std::string> lines;
  Walk walk = layout.walk();
  while (const Subvolume* subvolume = walk.next_subvolume().value()) {
    uint64_t last = 0, inodes = 0, names = 0;
    const std::map<uint64_t, std::string> directories = directory_paths(layout, subvolume->id);
    while (const Inode* inode = walk.next().value()) {
      EXPECT_GT(inode->number, last);
      last = inode->number;
      ++inodes;
      std::string paths, first;
      for (const Link& link : inode->links) {
        const std::string path = directories.at(link.directory) + "/" + std::string(link.name);
        if (first.empty()) first = path;
        paths += (paths.empty() ? "" : ",") + path;
      }
      if (inode->links.empty()) paths = "/";
      EXPECT_EQ(paths == "/" ? "" : first.substr(1), inode->path);
      std::string line = fmt::format("{}:{} {} {:o} {}", subvolume->id, inode->number, paths,
                                     inode->attributes.mode, inode->attributes.uid);
      if (inode->content == ContentKind::bytes) line += fmt::format(" {}", as_text(inode->content_bytes));
      if (inode->content == ContentKind::stored)
        line += fmt::format(" {}", store ? store->content(inode->content_bytes) : "token");
      for (const XattrChange& xattr : inode->xattrs)
        line += fmt::format(" {}={}", xattr.name, xattr.value.value_or("-"));
      if (inode->attributes.is_directory()) {
        line += " [";
        uint64_t index = 2, name_bytes = 0, children = 0;
        std::string last_name;
        while (const Child* child = walk.next_child().value()) {
          EXPECT_EQ(child->index, index++);
          EXPECT_TRUE(children == 0 || child->name > last_name);
          last_name = child->name;
          ++children;
          name_bytes += child->name.size();
          line += fmt::format("{}{}={}", children == 1 ? "" : " ", child->name,
                              child->is_subvolume ? "subvolume-" : "");
          line += std::to_string(child->number);
        }
        line += "]";
        EXPECT_EQ(inode->child_count, children) << paths;
        EXPECT_EQ(inode->child_name_bytes, name_bytes) << paths;
        names += children;
      }
      lines.push_back(line);
    }
    EXPECT_EQ(subvolume->inodes, inodes) << subvolume->path;
    EXPECT_EQ(subvolume->names, names) << subvolume->path;
    EXPECT_GE(subvolume->last_inode, std::max<uint64_t>(last, 256));
  }
  return lines;
}

}  // namespace karst::btrfs::build::testing
