// What the plug-in around Apache Arrow's C++ libraries offers: rows of Parquet files, and files of object stores. Those
// libraries carry their own copies of others that we link too; the plug-in is loaded with its symbols bound to itself,
// so that the two never meet. Plain C types only. Every function may be called by several threads at once; one object
// by one thread at a time.
#pragma once

#include <stddef.h>
#include <stdint.h>

extern "C" {

enum GalleonArrowError {
  kGalleonArrowNone = 0,
  kGalleonArrowNotFound,
  kGalleonArrowDenied,       // the credentials are missing, wrong, or do not allow it
  kGalleonArrowInvalid,      // what was asked for, or what a file holds, cannot be
  kGalleonArrowUnavailable,  // it may work another time
};

// What went wrong, told by a call that failed.
struct GalleonArrowFailure {
  GalleonArrowError error;
  void (*tell)(void* context, const char* message, size_t length);  // called once, before the call returns
  void* context;
};

struct GalleonArrowFile;    // an object, open for reading
struct GalleonArrowUpload;  // an object that is being written
struct GalleonArrowRows;    // rows of a Parquet file, as JSON lines

struct GalleonArrowFunctions {
  // Calls `take` with each object whose address begins with the folder `address` (all levels below it): its address,
  // its size in bytes and the time of its last change in nanoseconds since 1970. An address of one object gives that
  // object. A folder with nothing in it is not a failure.
  bool (*list)(const char* address,
               void (*take)(void* context, const char* address, size_t length, int64_t size, int64_t changed),
               void* context, GalleonArrowFailure* failure);

  GalleonArrowFile* (*open)(const char* address, int64_t* size, GalleonArrowFailure* failure);
  // Up to `size` bytes from `offset` on; the bytes read, fewer only at the end; -1: a failure.
  int64_t (*read_at)(GalleonArrowFile* file, int64_t offset, char* out, int64_t size, GalleonArrowFailure* failure);
  void (*close)(GalleonArrowFile* file);

  // The object appears, or changes, when `finish` has returned true, and not before. `abandon` ends an upload that is
  // not to appear; both end the upload.
  GalleonArrowUpload* (*create)(const char* address, GalleonArrowFailure* failure);
  bool (*write)(GalleonArrowUpload* upload, const char* bytes, int64_t size, GalleonArrowFailure* failure);
  bool (*finish)(GalleonArrowUpload* upload, GalleonArrowFailure* failure);
  void (*abandon)(GalleonArrowUpload* upload);
  bool (*remove)(const char* address, GalleonArrowFailure* failure);

  // A Parquet file of this machine or of an object store. `columns`: names of the columns that the rows have, in the
  // file's order; count 0: all.
  GalleonArrowRows* (*open_rows)(const char* path, const char* const* columns, size_t count,
                                 GalleonArrowFailure* failure);
  // Up to `size` bytes of JSON lines; 0: the end; -1: a failure.
  int64_t (*read_rows)(GalleonArrowRows* rows, char* out, int64_t size, GalleonArrowFailure* failure);
  // Bytes of the file that the rows read so far make up, by their share of all rows.
  int64_t (*rows_position)(const GalleonArrowRows* rows);
  void (*close_rows)(GalleonArrowRows* rows);
};

// The one symbol that the plug-in shows.
const GalleonArrowFunctions* galleon_arrow_functions();
}
