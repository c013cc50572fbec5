"""``diffjscc watch``: a page on which somebody sees the pictures of a run as they arrive.

tx.db of each folder --frames--> the newest frames, counts --app--> events --> page/watch.js
images/, returned/   --pictures-> WebP                     --------> <img>
"""
