"""What the exporter needs at a bucket and nothing more, as the documents that providers take.

`rights` says what Lading asks of a store, from the settings and the export definitions; `s3`, `google` and `azure` say
it in the words of each provider, and `glue` what tables ask of their catalogue. Pure: nothing is asked of any of them.
"""
