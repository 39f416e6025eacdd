def download_url_to_file(url, dst, progress=True):
    raise AssertionError("a test would use the network")
