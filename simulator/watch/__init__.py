"""``diffjscc watch``: a page on which somebody sees the pictures of a run as they arrive.

tx.db of each folder, denoising/  --folders--> frames, counts --app--> events --> page/watch.js
channel.watch of a running one    --channel-->
images/, returned/, or the channel --pictures-> WebP                 --------> <img>
"""
